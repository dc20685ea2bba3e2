#include "nearsight/training_set.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace nearsight {
namespace {

// Two elements with two and one features; an image of three centres, of elements 1, 0, 1.
struct Example {
  std::vector<int> element{1, 0, 1};
  std::vector<double> features{10, 0, 20, 21, 30, 0};
  std::vector<Index> block_offsets{0, 1, 4};
  std::vector<int> block_center{2, 1, 0, 2};  // of an atom, by element
  std::vector<double> derivatives;
  std::vector<double> forces{1, 2, 3, 4, 5, 6};

  Example() {
    for (int b = 0; b < 4; ++b)
      for (int axis = 0; axis < 3; ++axis)
        for (int i = 0; i < 4; ++i) derivatives.push_back(100 * b + 10 * axis + i);
  }
  LabelledImage image() const {
    return {3,
            2,
            static_cast<Index>(block_center.size()),
            element.data(),
            features.data(),
            block_offsets.data(),
            block_center.data(),
            derivatives.data(),
            -1.5,
            forces.data()};
  }
};

TrainingSet empty_set() {
  const NetworkShape shape({{2, 3, 1}, {1, 3, 1}}, {Activation::kTanh, Activation::kLinear});
  Matrix scale(2, 2), offset(2, 2);
  scale << 2.0, 4.0, 8.0, 0.0;
  offset << -1.0, 1.0, 0.5, 0.0;
  return {shape, scale, offset};
}

TEST(TrainingSet, ScalesAndPadsTheFeatures) {
  TrainingSet set = empty_set();
  set.add(Example().image());
  EXPECT_EQ(set.n_features, 4);
  const std::vector<double> expected{80.5, 0, 0, 0, 39, 85, 0, 0, 240.5, 0, 0, 0};
  EXPECT_EQ(set.features, expected);
}

TEST(TrainingSet, KnowsTheBlocksOfEveryAtomAndBorrowsTheirDerivatives) {
  TrainingSet set = empty_set();
  const Example one, other;
  set.add(one.image());
  set.add(other.image());
  EXPECT_EQ(set.n_images(), 2);
  EXPECT_EQ(set.image_centers, (std::vector<Index>{0, 3, 6}));
  EXPECT_EQ(set.image_force_atoms, (std::vector<Index>{0, 2, 4}));
  EXPECT_EQ(set.block_offsets, (std::vector<Index>{0, 1, 4, 5, 8}));
  EXPECT_EQ(set.block_center, (std::vector<int>{2, 1, 0, 2, 5, 4, 3, 5}));
  EXPECT_EQ(set.group_end(1, 4), 2);  // element 0, then twice element 1
  EXPECT_EQ(set.group_end(2, 4), 4);
  const std::vector<const double*> expected{one.derivatives.data(), one.derivatives.data() + 12,
                                            other.derivatives.data(),
                                            other.derivatives.data() + 12};
  EXPECT_EQ(set.derivatives, expected);
  EXPECT_EQ(set.energies, (std::vector<double>{-1.5, -1.5}));
  EXPECT_EQ(set.forces.size(), 12U);
}

TEST(TrainingSet, RoundsTheProductBeforeTheOffsetIsAdded) {
  // With a fused multiply-add the result would be 2^-54.
  const NetworkShape shape({{1, 1}}, {Activation::kLinear});
  TrainingSet set(shape, Matrix::Constant(1, 1, 1.0 + 0x1p-27),
                  Matrix::Constant(1, 1, -1.0 - 0x1p-26));
  const int element = 0;
  const double feature = 1.0 + 0x1p-27;
  const Index offset = 0;
  set.add({1, 0, 0, &element, &feature, &offset, nullptr, nullptr, 0.0, nullptr});
  EXPECT_EQ(set.features[0], 0.0);
}

TEST(TrainingSet, RefusesIndicesOutOfRange) {
  const auto refusal = [](const auto& change) -> std::string {
    Example example;
    change(example);
    TrainingSet set = empty_set();
    try {
      set.add(example.image());
    } catch (const std::invalid_argument& error) {
      EXPECT_EQ(set.n_images(), 0);
      EXPECT_TRUE(set.features.empty());
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(refusal([](Example&) {}), "accepted");
  for (const int element : {-1, 2})
    EXPECT_EQ(refusal([&](Example& e) { e.element[1] = element; }),
              "a centre of the training set has an unknown element");
  for (const int center : {-1, 3})
    EXPECT_EQ(refusal([&](Example& e) { e.block_center[3] = center; }),
              "a block of the training set belongs to another image");
  for (const std::vector<Index>& offsets :
       {std::vector<Index>{1, 1, 4}, std::vector<Index>{0, 5, 4}, std::vector<Index>{0, 1, 3}})
    EXPECT_EQ(refusal([&](Example& e) { e.block_offsets = offsets; }),
              "block offsets of an image do not fit its blocks");
  EXPECT_EQ(refusal([](Example& e) { std::swap(e.block_center[1], e.block_center[2]); }),
            "blocks of an atom are not sorted by element");
}

TEST(TrainingSet, RefusesAShapeThatDoesNotFit) {
  const NetworkShape shape({{3, 1}}, {Activation::kLinear});
  const Matrix two = Matrix::Zero(1, 2), three = Matrix::Zero(1, 3);
  EXPECT_NO_THROW(TrainingSet(shape, three, three));
  EXPECT_THROW(TrainingSet(shape, two, two), std::invalid_argument);
  EXPECT_THROW(TrainingSet(shape, three, two), std::invalid_argument);
  EXPECT_THROW(TrainingSet(shape, Matrix::Zero(2, 3), Matrix::Zero(2, 3)), std::invalid_argument);
}

}  // namespace
}  // namespace nearsight
