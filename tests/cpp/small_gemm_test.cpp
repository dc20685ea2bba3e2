#include "small_gemm.hpp"

#include <gtest/gtest.h>

#include "nearsight/types.hpp"

namespace nearsight {
namespace {

// All numbers of rows that the tiles are made for, and more; every rest of columns; either order of
// the first factor.
TEST(SmallGemm, EqualsPlainSums) {
  for (const Index rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 29})
    for (Index columns = kPairLanes; columns <= 9 * kPairLanes; columns += kPairLanes)
      for (const Index depth : {0, 1, 2, 21}) {
        const Matrix a = Matrix::Random(rows, depth), b = Matrix::Random(depth, columns + 3);
        const Matrix given = Matrix::Random(rows, columns + 1);
        const Matrix expected = a * b.leftCols(columns);
        const Matrix turned = a.transpose();
        for (const GemmOperand left :
             {GemmOperand{a.data(), 1, depth}, GemmOperand{turned.data(), rows, 1}}) {
          Matrix set = given, added = given;
          small_gemm<false>(rows, columns, depth, left, b.data(), b.cols(), set.data(), set.cols());
          small_gemm<true>(rows, columns, depth, left, b.data(), b.cols(), added.data(),
                           added.cols());
          EXPECT_LE((set.leftCols(columns) - expected).cwiseAbs().maxCoeff(), 1e-13);
          added -= given;
          EXPECT_LE((added.leftCols(columns) - expected).cwiseAbs().maxCoeff(), 1e-13);
          EXPECT_EQ(set.col(columns), given.col(columns));  // nothing beyond is touched
          EXPECT_EQ(added.col(columns).cwiseAbs().maxCoeff(), 0.0);
        }
      }
}

}  // namespace
}  // namespace nearsight
